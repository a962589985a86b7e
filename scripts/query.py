from p5t5.cli.query import main

raise SystemExit(main())
