"""What a policy's file may contain, judged before anything reads it."""
