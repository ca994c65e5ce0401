"""The networks: everything that needs TensorFlow and Keras, and nothing else does."""
