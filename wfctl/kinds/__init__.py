"""How each kind of node does its work: one module a kind, found by `wfctl.plugins`.

Knows no engine and no store."""
