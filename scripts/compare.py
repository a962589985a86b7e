from p5t5.cli.compare import main

raise SystemExit(main())
