"""(Graph, Plan) -> Graph, and from a request to a plan. Nothing here changes its argument."""
