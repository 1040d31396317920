"""Small wrong versions of the package, each of which a fast test must notice.

`laws` states the laws of the method. The modules beside it list the mutants, one module for each part of the package;
`catalogue` gathers them. `run` applies them one by one (`make test-mutants`), and `page` writes `docs/laws.md`.
"""
