"""What each idea brought to telling a road from what is none: ``python -m training.ablation`` writes docs/ablation.md."""
