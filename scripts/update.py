from p5t5.cli.update import main

raise SystemExit(main())
