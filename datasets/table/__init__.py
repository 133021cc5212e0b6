"""Any table as a data set: CSV or Parquet, numbers and texts, with missing values or without."""
