"""What every experiment needs: flags, the record of a run, its log, figures and note."""
