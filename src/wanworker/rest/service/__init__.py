"""Jobs behind the routes: submit, run, recover, expire and report them."""
