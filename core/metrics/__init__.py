"""How good an image is (PSNR, SSIM) and how good a set of samples is."""
