"""What is shown of the run under the cursor: live, images, log, config, and the comparison of marked runs."""
