"""Studies: a shortlist of plans, short trainings, seeds for the finalists, an answer that says how sure it is."""
