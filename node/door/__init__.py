"""Who gets in: what is checked of an association and of a data set before the node says yes."""
