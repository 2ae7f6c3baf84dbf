"""What made the encoders in ``engines/shipped``: ``distill`` made road, ``middle_encoder`` road-middle, ``imagenet_encoder``
road-large, ``background`` what ships beside each."""
