"""The description of the gateway's own calls; it is loaded when somebody asks for it."""
