"""Architecture search by gradients: DARTS (Liu, Simonyan and Yang 2019), with implicit ones too."""
