"""The measurements of `dipddpm bench`: the roofline of a machine, and the rates of standard works on it."""
