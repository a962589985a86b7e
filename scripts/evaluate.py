from p5t5.cli.evaluate import main

raise SystemExit(main())
