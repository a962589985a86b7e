from p5t5.commands.query import main

raise SystemExit(main())
