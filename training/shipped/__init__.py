"""What made the encoders in ``engines/shipped``: ``distill`` made road, ``imagenet_encoder`` road-large, ``background`` what
ships beside each."""
