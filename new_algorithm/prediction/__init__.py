"""What a trained ReLU network says of new rows, and its export to other programs."""
