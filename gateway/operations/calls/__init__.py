"""The calls that the gateway passes, one module for each action: how it is asked for, ordered and answered; pure."""
