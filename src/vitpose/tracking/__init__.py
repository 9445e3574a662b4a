"""Who is who from frame to frame: association by pose and box, box trackers behind one protocol, editing of ids."""
