"""Annotated people of any skeleton: annotation files to records, records to training batches, and checks of both."""
