"""The embedded miniature of Wan: where its weights and its LoRAs are."""
