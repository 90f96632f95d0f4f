"""The measurements of `dipddpm bench`: the roofline of a machine, and the rates of standard workloads on it."""
