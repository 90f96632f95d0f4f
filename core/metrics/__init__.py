"""Metrics: the quality of a restored image (PSNR, SSIM) and of a set of samples."""
