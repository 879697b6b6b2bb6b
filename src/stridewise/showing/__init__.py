"""What `show` says: every size, stride, field and cost of a network as rows, and the document made of them."""
