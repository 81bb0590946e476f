"""The libraries behind `nitrogen_train.data.decode`, one file each."""
