from p5t5.commands.evaluate import main

raise SystemExit(main())
