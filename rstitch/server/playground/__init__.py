"""The page at `/` where one sees a pair at work, and what it needs beside the API."""
