"""An experiment console for image priors: `dipddpm.core` holds the experiments, `dipddpm.tui` what a person sees."""
