"""The experiments that made the results and networks which the package ships; see README.md."""
