"""What is to be seen of an event: snapshot, heat map, nearest normal frames, a clip of the camera's own packets."""
