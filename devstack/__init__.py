"""The whole of Latchkey on one machine: real parts on free loopback ports, for `make up`, `make demo` and the tests.

It starts programs and watches them. It knows their command lines and settings, and imports nothing of `app`, `tasks`,
`web` or `sandbox`: what it runs here is what production runs.
"""
