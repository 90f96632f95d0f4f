"""The panes: live curves, images, log and config of the run under the cursor, and the comparison of marked runs."""
