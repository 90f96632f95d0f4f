"""What `dipddpm bench` measures: the roofline of a machine, and the rates of standard works on it."""
