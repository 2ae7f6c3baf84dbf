"""What made the encoders in ``engines/shipped``: ``road_encoder`` made road, ``imagenet_encoder`` road-large, ``background``
what ships beside each."""
