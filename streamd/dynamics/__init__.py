"""The queue model dV/dt = f(V, I, P): the state of the queues, the inflow, the processors. Pure logic."""
