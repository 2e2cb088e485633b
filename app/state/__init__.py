"""What a browser tab knows. States call services and turn what they answer into text; they decide nothing."""
