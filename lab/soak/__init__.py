"""The soak: a lot of mail, a lot of trouble, and the question whether any of it is lost.

In the manner of Jepsen: who writes (letters.py), who makes trouble (nemesis.py) and who judges
(checker.py) know nothing of one another. The first two do what a seed says; the third looks at
the far ends, at what lies in mailboxes and queues, and believes nobody.
"""
