"""Starts FlowMachine as the appliance wants it. Written for flowmachine 1.34.0."""
