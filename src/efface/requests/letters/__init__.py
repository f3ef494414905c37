"""The letter that answers a request: from typed facts to sentences, in the language of the person, as HTML and as text."""
