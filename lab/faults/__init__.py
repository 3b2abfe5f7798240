"""Faults: small objects that do one bad thing to a lab and can undo it.

A family of faults is one module here. They act from outside the nodes wherever that can be, at
the cable, at the router or at the power switch, so that nobody inside can undo them and everybody
there sees on the wire what they do. The journal (journal.py) knows those that are on.
"""
