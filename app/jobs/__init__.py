"""The worker: the one active process that talks to exchanges, its scheduled jobs and its loops."""
