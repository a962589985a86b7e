from p5t5.cli.prepare import main

raise SystemExit(main())
