"""A model measured on labelled pictures: numbers with their protocol, comparisons and a report."""
