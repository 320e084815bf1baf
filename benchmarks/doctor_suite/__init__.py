"""Small trainings for the doctor: healthy ones, and the same with one planted fault."""
