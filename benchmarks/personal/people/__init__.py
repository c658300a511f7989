"""Data of many people, each as an npz that `data=arrays` reads."""
