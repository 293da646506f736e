"""What every measurement needs: processes on their cores, a stub that counts, load, and the proof that a run counts."""
