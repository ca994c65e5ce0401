"""Monitoring: what the record of answers tells of drift, and what people say was right.

history    one record a window of time: every signal, its evidence, and what it started
kept       where that lies: below the record of answers, in a folder or a bucket
"""
