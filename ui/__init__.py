"""What the pages share: session state, sidebar, transcript, frame strip. Draws; the work is in smolvlm_core."""
