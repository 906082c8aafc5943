"""A small file that holds too much ends a job before it fills the machine."""
